/** Who a request acts for. */
export interface Principal {
  readonly name: string
}

export interface Auth {
  /**
   * Who sent this `Authorization` header.
   * @throws AppError UNAUTHORIZED, alike for a missing and a wrong one
   */
  authenticate(authorization: string | undefined): Promise<Principal>
}
