"""What a run costs: latency, memory, and the machine it was measured on."""
