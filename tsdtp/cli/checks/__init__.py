"""What a command looks at before heavy work starts: values, keys, and what fits together."""
