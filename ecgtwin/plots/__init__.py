"""Floor 4: draws what evaluation measured, as SVG and HTML."""
