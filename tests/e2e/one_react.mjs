// Lets the built client find the React of these tests, where it would find the one it is built with: hooks need one React.

export function resolve(specifier, context, next) {
  const isClient = specifier === "react" && context.parentURL?.includes("/client/dist/");
  return next(specifier, isClient ? { ...context, parentURL: import.meta.url } : context);
}
