// A line between a browser and a server: TCP, to be cut and mended.

import { connect, createServer } from "node:net";

export class Line {
  #sockets = new Set();
  #server = null;
  #target;

  constructor(target) {
    this.#target = new URL(target);
  }

  /** Listen; later calls of `mend` listen on the same port. */
  async open(port = 0) {
    this.#server = createServer((near) => {
      const far = connect(Number(this.#target.port), this.#target.hostname);
      for (const [one, other] of [[near, far], [far, near]]) {
        this.#sockets.add(one);
        one.setNoDelay(true);
        one.on("error", () => other.destroy());
        one.on("close", () => {
          this.#sockets.delete(one);
          other.destroy();
        });
        one.pipe(other);
      }
    });
    await new Promise((resolve) => this.#server.listen(port, "127.0.0.1", resolve));
    this.port = this.#server.address().port;
    this.url = `http://127.0.0.1:${this.port}`;
  }

  /** End every connection in the middle of whatever it carries, and take no new ones. */
  async cut() {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    for (const socket of this.#sockets) socket.resetAndDestroy();
    await closed;
  }

  mend() {
    return this.open(this.port);
  }

  close() {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}
