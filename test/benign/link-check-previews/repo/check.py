import socket
for i in range(8):
    for n in ('deploy-preview-%d--a-site-with-quite-a-long-name.netlify.app', 'payments-service-with-a-long-name-%d.production-namespace-of-team-a.svc.cluster.local'):
        try:
            socket.getaddrinfo(n % i, 443)
        except OSError:
            pass
