let b = 2;  
