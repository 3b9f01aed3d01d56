"""Networks: residual and small convolutional ones, convolutional arithmetic circuits."""
