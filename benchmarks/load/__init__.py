"""What measurements of throughput share: cheap counterparts that leave the machine to what is measured."""
