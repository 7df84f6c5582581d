-- The last Lua file of the host: removes the functions that the game does not offer to scripts.

io, package, ffi, newproxy, load, loadstring, loadfile, dofile = nil, nil, nil, nil, nil, nil, nil, nil
string.dump = nil
local os_all = os
os = { clock = os_all.clock, date = os_all.date, difftime = os_all.difftime, time = os_all.time }
