/** A blank or a line break in a subject would be read by the server as something else. */
export const isSubject = (subject: string): boolean => /^[\x21-\x7e]+$/.test(subject)
