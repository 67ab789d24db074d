"""What experiments found: one JSON file a cell, read by `sartutor.learn.records`."""
