"""Online SGD on the weights of finite networks: steps, inputs, and how runs are put together."""
