"""All timings, one JSON object a line: `python -m bench`."""

from bench import (
    adaptation,
    annotator_latency,
    annotator_memory,
    encoder,
    experts,
    large_objects,
    large_scene,
    loading,
    notebooks,
    simmim,
    simulation,
    speckle,
)

if __name__ == "__main__":
    speckle.main()
    simulation.main()
    large_scene.main()
    large_objects.main()
    simmim.main()
    encoder.main()
    adaptation.main()
    experts.main()
    annotator_latency.main()
    annotator_memory.main()
    loading.main()
    notebooks.main()
