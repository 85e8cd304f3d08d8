import { createServer } from 'node:http'

/** A process of its own: replies with so many bytes (first argument) from one buffer, as fast as node:http can. */
const bytes = Number(process.argv[2])
const buffer = Buffer.alloc(Math.min(bytes, 1024 * 1024), 'stowage')
const server = createServer(async (_, response) => {
  response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': bytes })
  let left = bytes
  const more = () => {
    while (left > 0) {
      const part = left >= buffer.length ? buffer : buffer.subarray(0, left)
      left -= part.length
      if (left === 0) return response.end(part)
      if (!response.write(part)) return response.once('drain', more)
    }
    return response
  }
  more()
})
server.listen(0, '127.0.0.1', () => {
  const address = server.address()
  console.log(typeof address === 'object' ? address?.port : '')
})
