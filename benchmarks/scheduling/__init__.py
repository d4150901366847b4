"""What a tick costs with few tokens stored and with many, and how fast messages are published."""
