import { InvalidArgumentError } from 'commander'

/** For an option that takes a whole number. @throws InvalidArgumentError, which is wrong usage */
export function wholeNumber(text: string): number {
  const value = Number(text)
  if (!/^\d{1,15}$/.test(text) || !Number.isSafeInteger(value)) throw new InvalidArgumentError('It is a whole number.')
  return value
}

export function positiveNumber(text: string): number {
  const value = wholeNumber(text)
  if (value === 0) throw new InvalidArgumentError('It is 1 or more.')
  return value
}
