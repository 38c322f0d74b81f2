module plait.invalid/peers

go 1.21
