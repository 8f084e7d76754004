"""The machinery that executes the chapters and builds the site; no chapter imports it, so that a kernel stays light."""
