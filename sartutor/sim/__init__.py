"""Floor 2: synthetic scenes made with the tools of `sartutor.sar`."""
