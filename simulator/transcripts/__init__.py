"""What providers' own pages show them saying, one TOML file each. `simulator.playing` plays them."""
