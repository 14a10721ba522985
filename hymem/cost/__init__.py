"""What calls cost, and the caps that stop them."""
