"""The committed tables: what each is made of, and the page that shows them."""
