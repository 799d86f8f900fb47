package tenants

// SlugOf is slugOf, for the fuzz target.
var SlugOf = slugOf
