"""The scene: nodes, runs, review, and the Logic that both faces use. No Qt."""
