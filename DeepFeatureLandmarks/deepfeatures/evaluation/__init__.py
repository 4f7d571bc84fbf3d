"""The paper's study as a tool: networks × layers × patch sizes × searches on any folder of cases, beside baselines."""
