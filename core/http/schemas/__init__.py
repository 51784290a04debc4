"""What stands in requests and answers. Requests refuse unknown members; answers show nothing but what stands here."""
