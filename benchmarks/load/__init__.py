"""What the benchmarks of scale share: servers, a cheap token endpoint, a filled store, workers, samples."""
