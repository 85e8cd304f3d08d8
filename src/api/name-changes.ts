import type { NameChange, NameExpectation } from '../content/verbs.ts'
import { AppError } from '../errors.ts'
import { isRecord } from '../lib/json.ts'
import { type JsonObject, onlyFields, textField } from './json-body.ts'

/** What `POST /api/v1/names` can be asked: one of these fields. */
export type NamesCommand =
  | { readonly kind: 'changes'; readonly changes: readonly NameChange[] }
  | {
      readonly kind: 'rename'
      readonly from: string
      readonly to: string
      readonly expect: NameExpectation
      readonly replace: boolean
    }
  | { readonly kind: 'undo'; readonly name: string; readonly revision: number | undefined }

/** Well within an atomic batch of the log. */
export const changesMax = 250
const hint = 'send {"changes": […]}, {"rename": {"from", "to"}} or {"undo": {"name"}}'

/** @throws AppError REQUEST_INVALID | LIMIT_EXCEEDED */
export function parseNamesCommand(body: JsonObject): NamesCommand {
  const [field, ...more] = Object.keys(body)
  if (field === undefined || more.length > 0) {
    throw new AppError('REQUEST_INVALID', 'the body does not say one thing to do', { hint })
  }
  const value = body[field]
  switch (field) {
    case 'changes':
      return { kind: 'changes', changes: changesOf(value) }
    case 'rename':
      return renameOf(objectOf(value, 'rename'))
    case 'undo':
      return undoOf(objectOf(value, 'undo'))
    default:
      throw new AppError('REQUEST_INVALID', 'the body says nothing that can be done with names', { hint })
  }
}

function changesOf(value: unknown): NameChange[] {
  if (!Array.isArray(value) || value.length === 0) {
    throw new AppError('REQUEST_INVALID', 'changes is no list of changes', { hint })
  }
  if (value.length > changesMax) {
    throw new AppError('LIMIT_EXCEEDED', `${value.length} changes in one commit; the limit is ${changesMax}`)
  }
  return value.map((change: unknown) => changeOf(objectOf(change, 'a change')))
}

function changeOf(change: JsonObject): NameChange {
  const name = textField(change, 'name', 'a change')
  const expect = expectField(change.expect)
  switch (change.kind) {
    case 'set': {
      onlyFields(change, ['kind', 'name', 'cid', 'mediaType', 'expect'], 'a set')
      const mediaType = change.mediaType === undefined ? null : textField(change, 'mediaType', 'a set')
      return { kind: 'set', name, cid: textField(change, 'cid', 'a set'), size: null, mediaType, expect }
    }
    case 'remove':
      onlyFields(change, ['kind', 'name', 'expect'], 'a remove')
      return { kind: 'remove', name, expect }
    default:
      throw new AppError('REQUEST_INVALID', 'the kind of a change is set or remove')
  }
}

function renameOf(rename: JsonObject): NamesCommand {
  onlyFields(rename, ['from', 'to', 'replace', 'expect'], 'rename')
  const { replace = false } = rename
  if (typeof replace !== 'boolean') throw new AppError('REQUEST_INVALID', 'replace is true or false')
  return {
    kind: 'rename',
    from: textField(rename, 'from', 'rename'),
    to: textField(rename, 'to', 'rename'),
    expect: expectField(rename.expect),
    replace,
  }
}

function undoOf(undo: JsonObject): NamesCommand {
  onlyFields(undo, ['name', 'revision'], 'undo')
  const { revision } = undo
  return {
    kind: 'undo',
    name: textField(undo, 'name', 'undo'),
    revision: revision === undefined || revision === null ? undefined : revisionOf(revision),
  }
}

function expectField(value: unknown): NameExpectation {
  if (value === undefined || value === 'any') return 'any'
  if (value === 'absent') return 'absent'
  return { revision: revisionOf(value) }
}

function revisionOf(value: unknown): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value
  throw new AppError('REQUEST_INVALID', 'a revision is a whole number', {
    hint: 'expect is a revision, "absent" or "any"',
  })
}

function objectOf(value: unknown, what: string): JsonObject {
  if (isRecord(value)) return value
  throw new AppError('REQUEST_INVALID', `${what} is no JSON object`, { hint })
}
