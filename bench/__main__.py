"""All timings, one JSON object a line: `python -m bench`."""

from bench import annotator_latency

if __name__ == "__main__":
    annotator_latency.main()
