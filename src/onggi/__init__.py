"""onggi: a container platform. `import onggi` is the typed client."""
