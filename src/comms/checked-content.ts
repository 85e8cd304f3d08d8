import { contentDigests } from '../lib/content-digests.ts'
import { refuseOtherContent } from '../lib/content-headers.ts'
import type { CommandCall } from './commands.ts'

/**
 * The content of a put or import, held against what the headers say of it, as over HTTP. Digests are of the content itself,
 * also where it comes in parts or inside of JSON.
 * @throws AppError REQUEST_INVALID | MEDIA_TYPE_UNSUPPORTED
 */
export function checkedContent({ request, content }: Pick<CommandCall, 'request' | 'content'>) {
  const header = (name: string) => request.headers.get(name)
  refuseOtherContent(header)
  const digests = contentDigests(header)
  if (digests === undefined) return { source: content }
  const iterator = content[Symbol.asyncIterator]()
  let checked = false
  async function* read(): AsyncGenerator<Uint8Array> {
    for (let next = await iterator.next(); next.done !== true; next = await iterator.next()) {
      digests?.update(next.value)
      yield next.value
    }
    if (checked) return
    checked = true
    digests?.check()
  }
  // Not every reader goes to the end.
  const verify = async () => {
    const rest = read()
    while ((await rest.next()).done !== true);
  }
  return { source: read(), verify }
}
