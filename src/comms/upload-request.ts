import { AppError } from '../errors.ts'
import type { Messaging } from '../nats/messaging.ts'
import type { CommandCall, CommandHandler } from './commands.ts'
import { type Command, header } from './protocol.ts'
import { errorReply, type Failure, failureOf, jsonReply, type Requester } from './reply.ts'
import type { Transfers } from './transfers.ts'
import { Upload, type UploadLimits } from './upload.ts'

export interface UploadParts {
  readonly messaging: Messaging
  readonly domain: string
  readonly transfers: Transfers
  readonly limits: UploadLimits
}

/** How long a repeated last part still gets the outcome. */
const lingerMs = 10_000

/** `Stowage-Upload: begin`: answers with the subject that takes the parts, then carries out the command as they come. */
export async function receiveUpload(
  call: Omit<CommandCall, 'content'>,
  handler: CommandHandler,
  command: Command,
  requester: Requester,
  { messaging, domain, transfers, limits }: UploadParts,
): Promise<Failure | undefined> {
  checkBegin(call, command, requester)
  const upload = new Upload(messaging, domain, limits)
  const transfer = transfers.open((message) => upload.receive(message))
  try {
    const { flightBytesMax: credit, partBytesMax } = limits
    requester.send(
      jsonReply(
        { upload: transfer.subject, credit, partBytesMax, id: call.context.id },
        {
          [header.upload]: transfer.subject,
          [header.credit]: String(credit),
          [header.partBytesMax]: String(partBytesMax),
          [header.id]: call.context.id,
        },
      ),
    )
    upload.settle(await handler({ ...call, content: upload.source(call.signal) }))
    return undefined
  } catch (error) {
    upload.settle(errorReply(error))
    return failureOf(error)
  } finally {
    transfer.close({ lingerMs })
  }
}

function checkBegin({ request }: Omit<CommandCall, 'content'>, command: Command, requester: Requester): void {
  if (command !== 'put' && command !== 'import') {
    throw new AppError('REQUEST_INVALID', `${command} takes no content`)
  }
  if (request.headers.get(header.upload.toLowerCase()) !== 'begin' || request.body.byteLength > 0) {
    throw new AppError('REQUEST_INVALID', `an upload starts with ${header.upload}: begin and without a body`)
  }
  if (!requester.listens) throw new AppError('REQUEST_INVALID', 'an upload needs a reply subject')
}
