"""The console: web pages and a JSON API over the store, for the people of the abuse desk and their resellers."""
