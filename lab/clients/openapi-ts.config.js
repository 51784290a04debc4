// Node resolves no import without its extension. The generator would see that in a tsconfig.json above its own files.
export default { input: "openapi.json", output: { path: "hey", module: { extension: ".js" } } };
