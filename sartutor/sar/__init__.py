"""Floor 1: radar physics and rasters in NumPy, SciPy and rasterio. No torch here."""
