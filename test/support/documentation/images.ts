/**
 * The images that the pages name, made of this machine's own files as those of every lab: a lab reaches no registry. What stands for
 * `traefik/whoami` says of a request what that one says: who answers, and whom it sees.
 */
import type { ImageSource } from '../../../src/lab/images.js';

const whoamiConfig = `user root;
daemon off;
master_process off;
pid /run/nginx.pid;
error_log stderr warn;
events { worker_connections 1024; }
http {
  access_log /dev/stdout;
  default_type text/plain;
  server {
    listen 80;
    location / { return 200 "Hostname: $hostname\\nIP: $server_addr\\nRemoteAddr: $remote_addr:$remote_port\\nGET $request_uri HTTP/1.1\\nHost: $http_host\\n"; }
  }
}
`;

export const whoamiImage = {
  names: ['traefik/whoami:latest', 'traefik/whoami:v1.10', 'traefik/whoami:v1.11'],
  changes: ['CMD ["/usr/sbin/nginx"]', 'EXPOSE 80', 'ENV PATH=/usr/sbin:/bin'],
  programs: ['/usr/sbin/nginx'],
  files: {
    'etc/passwd': 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n',
    'etc/group': 'root:x:0:\nnogroup:x:65534:\n',
    'etc/nsswitch.conf': 'hosts: files dns\n',
    'etc/nginx/nginx.conf': whoamiConfig,
  },
} as const satisfies ImageSource;
