"""Draw a box on the map, get a mask: session (state), segmenter (model), view (widgets)."""
