"""Beyond one process: streams that share teachers, pools over many machines. On Ray, or without it."""
