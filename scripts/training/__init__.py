"""What the trainings are made of, and what comes of them: images in, then steps, metrics, pictures,
checkpoints and files of models out. It stands on `scripts.command`; it must not know the programs
that start it, nor the benchmarks that time its steps."""
