"""What the operating system gives: clock, files, forks, threads."""
