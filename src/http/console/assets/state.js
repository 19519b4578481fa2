// What the views share. It lives in memory only: ids are neither in URLs nor in storage.

export const state = {
  /** The reply of /console/session. */
  session: {},
  /** The user that the views are about. */
  user: "",
  /** The item of the view Item. */
  item: "",
  /** Users that were looked at, the latest first. */
  recentUsers: [],
};

/** Remembers a user that was looked at. */
export function remember(user) {
  state.user = user;
  if (user === "") return;
  state.recentUsers = [user, ...state.recentUsers.filter((other) => other !== user)].slice(0, 12);
}
