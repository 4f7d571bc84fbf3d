"""How far off a landmark may be, predicted from its match."""
