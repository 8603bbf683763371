"""What ``benchmark_accelerator`` measures: tasks in order of value, and a folder of rows."""
