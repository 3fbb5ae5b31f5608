"""The experiment of system 19: ways of upsampling in one U-Net, clean and under attack."""
