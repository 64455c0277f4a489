"""BuildKit's protocol: builds that a docker command line with buildx drives, over `/grpc` and `/session`.

Here: HTTP/2 and gRPC on a taken-over connection (http2.py, rpc.py), the client's session, which is asked for files, secrets,
logins and ssh agents while a build runs (session.py, filesync.py, asking.py), the services that clients call (control.py, bridge.py),
and a build as they see it (jobs.py, tracing.py). Messages are generated from pb/*.proto by `make proto`.
Not here: what a Dockerfile means (the rest of build/), what becomes of a result (build/exporters/).
Begin in control.py. Invariants: (1) a job ends with the call of Control.Solve that owns it, and so does all it holds; (2) nothing
that a client's session has sent outlives its job but the files that its next build doesn't send again.
"""
