-- KEYS: records. ARGV: soft.
for _, key in ipairs(KEYS) do forget(key, ARGV[1] == '1') end
return 0
