"""Learning from the person: what accepted and corrected landmarks teach about the next scans."""
