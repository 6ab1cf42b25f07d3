import http.server
import threading


class BlobServer:
    def __init__(self, folder, *, host, port=0, tls=None):
        self.folder = str(folder)

        class H(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *a):
                pass

            def translate_path(s, path):
                return self.folder + "/" + path.split("/")[-1]

        self.s = http.server.ThreadingHTTPServer((host, port), H)
        self.url = f"http://{host}:{self.s.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self.s.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *a):
        self.s.shutdown()
        self.s.server_close()

    def grant(self, node):
        return "t"

    def set_pace(self, node, rate):
        pass
