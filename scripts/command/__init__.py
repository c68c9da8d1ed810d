"""What every program stands on, beside `jaxfn.commands`: flags and exit codes, signals, the device,
the folder that a run leaves. It takes what the user gives and hands back what a program can
work with, or a `UserError`; it must not know models, trainings, or anything else in `scripts`."""
