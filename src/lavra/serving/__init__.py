"""The HTTP room: an OpenAI-compatible API, keys and roles, limits, and the web pages.

``app.create_app(services, settings)`` makes the application, ``serve.run(...)`` runs it. Nothing here knows how an
answer is made or where documents lie: the floor above hands that in as ``services.Services``.
"""
