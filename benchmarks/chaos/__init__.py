"""A campaign of faults against real processes, and a judge who asks both sides what was lost."""
