"""Pretrain an encoder on clinical notes: masked words and next sentences."""
