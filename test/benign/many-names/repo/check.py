import socket
names = ['www%d.example.com' % i for i in range(40)]
names += ['my-application-with-a-long-name-%d.eu-west-1.elb.amazonaws.com' % i for i in range(5)]
names += ['d1a2b3c4d5e6f7a8b9c0d1e2f3a4b5c6d7e8f9a0.cloudfront.net', 'this-is-a-preview-of-pull-request-1234-app.pages.example.dev']
for n in names:
    socket.getaddrinfo(n, 443)
